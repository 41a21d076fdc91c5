"""Sessions: comparisons that share one error budget.

registering  gives each proposal its share when it is submitted, whoever asks for answers and when
pairing      what is known of a proposal: its differences to its baseline, in a fixed order
deciding     has the looks taken that are due, writes them down, and says what was decided
testing      jobs that evaluate kept weights on test data, and what they show
closing      has workers evaluate the kept weights on the test data
"""
