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
- `commands`: `langneurons sample` and `langneurons evaluate`.

Whatever writes completions will do for `sample` and `evaluate`: it needs one method, see
`engine.Engine`.
"""
