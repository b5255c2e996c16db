"""Gates: after every stage its statistics are judged, and the judgement is an artifact of its own."""
