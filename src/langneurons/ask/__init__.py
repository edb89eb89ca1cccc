"""Ask: let a model answer questions.

Read in this order:

- `engine`: what an engine that writes completions is asked, and what it gives;
- `draws`: the next token of each row, by random numbers that follow from the row's seed alone;
- `local`: the engine that runs a model in this process;
- `transport`: JSON sent to a server, and sent again where that may mend what went wrong;
- `replies`: what servers reply, and what they mean by it;
- `server`: the engine that asks an OpenAI-compatible server, over `transport`;
- `sample`: responses to questions, n to each, marked right or wrong;
- `evaluate`: one response to each question, always the likeliest, and how many are right;
- `marks`: what each answer is worth, with nothing and with neurons silenced, and its file;
- `silenced`: a task done with nothing, each language's neurons and random sets silenced in turn;
- `choices`, `translation`: tasks beyond numbers: the most probable of given answers, and parallel
  texts translated, scored by chrF;
- `told`: what answers are worth under each set, in words and as plain values;
- `commands`: `langneurons sample` and `langneurons evaluate`.

Whatever writes completions will do for `sample` and `evaluate`: it needs one method, see
`engine.Engine`.
"""
