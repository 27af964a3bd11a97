"""The systems that are judged, by the names that `samples` has for them, and how their samples may end."""

VALLE, CONTINUAL, TRUTH, RESYNTHESIS = "valle", "valle-continual", "ground-truth", "codec-resynthesis"
ENDLESS = "endless"  # kept, and said in `detail`
EMPTY = "empty"  # dropped, since there is nothing to hear; judges have to count it all the same
