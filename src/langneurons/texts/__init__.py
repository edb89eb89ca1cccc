"""Texts: what a model is asked, what it answers, and whether that is right. No model is run here.

In the order in which to read them:

- `responses`: a question and a response, and the block a question belongs to
- `languages`: what is known of a language: names, script, code in NLLB-200
- `prompts`: from a question to what the model is given, by a template
- `rows`: files of rows, a response or a question a line, and back
- `questions`: what a model is asked: files, the benchmarks, any data set of the Hub
- `answers`: the number in a response, and whether it is the right one
- `accuracy`: the share of right answers with its interval, and how it changes
- `question_ids`: which languages share no question with another one
- `flaws`: what can be wrong with a response, and which are counted
- `language_id`: which of a few languages a text is in
- `world`: the nano world: problems made and told in ten languages

Kinds of results: `rows.Responses`, `accuracy.Evaluation`, `questions.Questions`.
"""
