.PHONY: hil
hil: ## every scenario on a real vcan0 (native, else booted in User-Mode Linux)
	@hil/run
