"""A whole study, from a TOML file to the page: `langneurons run`. In the order to read it:

- `spec`: what a study is: models, questions, languages, alignments, settings of every stage.
- `toml`: the study in a TOML file, or one of those that come with langneurons, in `studies`.
- `stages`: the stages, and what each reads and is called with.
- `plan`: the steps of a study, in order: each a stage on one thing, and the folder it writes.
- `ledger`: what a run has done already, and why a step is to be done.
- `execution`: carries out the steps that are to be done; one that fails leaves the others standing.
- `hub`: whether the Hugging Face Hub has something, and how large it is.
- `sizes`: what is known of a model, and of this machine, without loading anything.
- `estimates`: what a step would take, by formulae that docs/study.md states.
- `access`: whether models, questions and libraries can be had.
- `forecast`: a dry run: all of that for every step, as a value.
- `workflow`: the same as a Snakemake workflow, for many machines.
- `commands`: `run`.
"""
