"""Small cases from use, each made on a real host: what is seen, beside what is right.

`make cases` makes them as users and administrators would: with `ml-job` and `ml-agent`, on the installed
agent, which runs a repository of scripts of the cases' own meanwhile.
"""
