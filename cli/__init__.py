"""The `bbqrec` command. One file per subcommand: it parses, calls and prints, and decides nothing."""
