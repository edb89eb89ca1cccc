"""Texts: what a model is asked, what it answers, and whether that is right. No model is run here.

In the order in which to read them:

- `responses`: a question and a response, and the block a question belongs to
- `languages`: what any code of a language says: name, script, decimal mark, code in NLLB-200
- `prompts`: from a question to what the model is given, by a template
- `rows`: files of rows, a response or a question a line, and back
- `questions`: what a model is asked: files, the benchmarks, any data set of the Hub
- `running_text`: documents that nobody was asked for: files of text, data sets with a column text
- `data_sets`: configurations, splits and rows of a data set of the Hub
- `perturbed`: the same texts in Latin letters, or with their words shuffled
- `answers`: the number in a response, and whether it is the right one
- `answer_words`: how texts in many languages say `the answer is`
- `accuracy`: the share of right answers with its interval, and how it changes
- `question_ids`: which languages share no question with another one
- `flaws`: what can be wrong with a response, and which are counted
- `language_id`: which of a few languages a text is in
- `world`: the nano world: problems made and told in ten languages

Kinds of results: `rows.Responses`, `accuracy.Evaluation`, `questions.Questions`.
"""
