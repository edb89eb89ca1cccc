"""Compare: a model before held against models after, and what the paper claims of them.

Read in this order:

- `overlap`: how far two tables of neurons agree;
- `changes`: how many neurons of each sort there are before and after, and what became of each, with
  intervals paired over blocks;
- `nearness`: whether languages come nearer to each other, and in which layers;
- `tables`: the same as plain rows, for the page and for files;
- `verdicts`: a claim, and what an interval says of it;
- `model_claims`: claims of one model: stages of layers, the diagonal, English;
- `claims`: claims of a model before and after, and all of them together;
- `comparison`: everything as one value, and its folder;
- `commands`: `langneurons compare`.

No model is run here.
"""
