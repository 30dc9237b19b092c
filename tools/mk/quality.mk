.PHONY: quality mutation
quality: ## the safety core's coverage, MISRA rules, mutants, cost; one answer from every compiler and from the Python model (build/prove/)
	@tools/prepare quality
	@tools/build
	@$(PY) -m tools.quality coverage misra cross instructions model mutation

mutation: ## every small change of the safety core, and whether a test notices it (build/prove/mutation.json)
	@tools/prepare quality
	@tools/build
	@$(PY) -m tools.quality mutation
