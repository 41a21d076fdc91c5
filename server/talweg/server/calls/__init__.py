"""What every call goes through: who it is from, how many there may be, and errors as statuses."""
