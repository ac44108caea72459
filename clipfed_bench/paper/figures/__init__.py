"""The paper's figures 3 to 7 (PAPER 3), a module each: t-SNE, images, bands, curves, teachers.

Every module has ``make(cells, env, store)``, which returns the figure and the numbers behind it in tidy form (shares
as fractions), and draws with the fonts of :func:`~clipfed_bench.report.plots.style.drawing` where it is called inside.
"""
