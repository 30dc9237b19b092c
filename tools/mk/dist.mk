.PHONY: dist
dist: ## the wheel, and signed release archives for Debian 12 and 13 on amd64 and arm64, all tried (dist/)
	@tools/prepare dist
	@tools/build
	@tools/dist
