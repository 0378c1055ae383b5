"""What users have used of the host, for them, for operators and for those who charge for it."""
