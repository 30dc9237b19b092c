.PHONY: deploy-test
deploy-test: ## a bare Debian root becomes a controlled site by Ansible, then boots with vcan0; SUITES="bookworm trixie" (build/deploy-test/)
	@tools/prepare deploy-test
	@tools/build
	@$(PY) -m tools.deploytest $(SUITES)
