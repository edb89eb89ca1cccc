"""Report: what was found, as figures and tables, and as one page that opens offline.

In the order to read it:

results            what a run or a folder of results holds, as values; load_result for any kind
charts             a figure, and the dialect its Vega-Lite specification is written in
layer_charts       what lies in which layer: neurons, agreement of languages
meaning_charts     where states are of what texts mean, and where of their language
neuron_charts      figures of one set of neurons; silencing_charts, sweep_charts, change_charts
                   and run_charts:
                   of what their names say
figures            every figure and table of one result, by name: the front door
drawing            a chart as SVG and PNG without a browser
parts              what a page is made of, as values: tiles, claims, chapters, neurons, sources
chapters, tiles    what was found, as these parts
pages              the whole page of a study or of one set of neurons
page_data          what the page's scripts read
markup             the templates, in which whatever comes from outside is shown as text
html               the page as one file; its markup, style and scripts are in the folder template
files              every figure and table as the files beside the page
commands           report

None of them loads torch.
"""
