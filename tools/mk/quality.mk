.PHONY: quality mutation
quality: ## the safety core's coverage, MISRA rules, one answer from every compiler, cost (build/prove/)
	@tools/prepare quality
	@tools/build
	@MODEL_EVSE_STEPS=$${MODEL_EVSE_STEPS:-100000} $(PY) -m pytest tests/model
	@$(PY) -m tools.quality coverage misra cross instructions

mutation: ## every small change of the safety core, and whether a test notices it (build/prove/mutation.json)
	@tools/prepare quality
	@tools/build
	@$(PY) -m tools.quality mutation
