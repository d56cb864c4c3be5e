"""What commands print of what they found: tables for people, plain data for programs."""
