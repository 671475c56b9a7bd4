"""Flow processes that begin warm: forked from a process that has imported everything already.

A cold flow process spends about three seconds on imports. Here the worker starts `starter.py` instead, a small
program that asks the `template.py` process for a fork of itself, hands it its own environment, folder and
output, passes signals on, and ends as the flow process ended. To the worker it is the flow process, so that crash
reports, cancellation and pull steps are the process worker's own. Where there is no template, or
it no longer is what the files say, the starter becomes a cold flow process itself.
"""
