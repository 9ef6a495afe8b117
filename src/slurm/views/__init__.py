"""Views: how jobs are shown, as text, as pictures, and in notebooks."""
