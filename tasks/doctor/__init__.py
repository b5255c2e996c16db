"""What `bbqrec doctor` looks at: one function per check, each giving findings. Nothing is repaired here."""
