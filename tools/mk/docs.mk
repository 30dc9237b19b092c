.PHONY: docs
docs: ## the documentation as a site that opens without a network (build/docs/site/index.html)
	@tools/prepare build
	@.venv/bin/mkdocs build --quiet && echo "docs: build/docs/site/index.html"
