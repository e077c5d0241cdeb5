"""What to make of a fit: each module looks at one thing and returns coded findings.

================  ================================================================================
module            question
================  ================================================================================
``levels``        does the log hold enough sizes, budgets and ratios for the law's terms?
``parameters``    what do parameters at a bound, or that the data cannot tell, mean?
``schedules``     are there checkpoints inside a decaying learning rate?
``burn_in``      do early evaluations lie outside the law?
``shape``         do the fitted losses fall with size, tokens and share, as losses should?
``fit_noise``     does the law follow the data as closely as repeated seeds repeat themselves?
``influence``     which runs look wrong, and on which does the fit hang?
``trends``        do residuals depend on size, tokens, ratio, seed or run order?
``gather``        all of them, for ``fit``
================  ================================================================================

Every code stands in docs/warnings.md.
"""
