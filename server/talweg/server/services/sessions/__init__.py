"""Sessions: comparisons that share one error budget.

registering  gives each proposal its share when it is submitted, whoever asks for answers and when
settings     what makes single jobs one setting, and two jobs the same run
seeds        seeds that nothing in a session has used, for the final trials of its sweeps
pairing      what is known of a proposal: its differences to its baseline, in a fixed order
deciding     has the looks taken that are due, writes them down, and says what was decided
testing      jobs that evaluate kept weights on test data, and what they show
summaries    has the runs of its sweeps in MLflow tell of the tests
closing      has workers evaluate the kept weights on the test data
"""
