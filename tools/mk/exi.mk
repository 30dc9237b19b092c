.PHONY: exi-oracle
exi-oracle: ## our EXI codec against EXIficient, byte by byte; renews the committed vectors (build/exi-oracle/)
	@native/exi/with-oracle tests.exi.oracle_run
