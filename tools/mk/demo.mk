.PHONY: demo
demo: ## a simulated site at work, with a breach of each limit, until Ctrl-C or for DEMO_SECONDS=20
	@tools/prepare demo
	@tools/build
	@DEMO_SECONDS="$(DEMO_SECONDS)" .venv/bin/python -m hil.demo
