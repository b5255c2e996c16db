"""When things happen: one thin flow per stage, and `retrain`, the whole chain. How they happen is in `tasks`."""
