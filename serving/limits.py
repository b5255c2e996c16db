"""What a request may ask for; read also by those who ask, who need none of the model's libraries."""

MAX_HISTORY = 10_000
"""Items of a history."""
