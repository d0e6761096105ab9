# What concerns AWS. infra/ says what is there, docs/deployment.md how it gets there.
.PHONY: bootstrap synth diff deploy destroy rotate-cache-password connect aws-logs

ENVIRONMENT ?= staging
TO ?= database
SERVICE ?= web
# The images' tag: the commit.
TAG ?= $(shell git rev-parse --short=12 HEAD)

IN_INFRA := cd infra && sh ../scripts/uv run --locked --quiet
CDK := $(IN_INFRA) npx cdk
CONTEXT = --context environment=$(ENVIRONMENT) --context tag=$(TAG)

infra/node_modules: infra/package-lock.json
	$(IN_INFRA) npm ci --ignore-scripts --no-fund
	@touch $@

bootstrap: infra/node_modules ## Prepare PLACE=aws://ACCOUNT/REGION for CDK, once
	$(CDK) bootstrap $(PLACE) --app '' --bootstrap-customer-key $(OPTIONS)

synth: infra/node_modules ## Make the CloudFormation templates of ENVIRONMENT
	$(CDK) synth --quiet $(CONTEXT)

diff: infra/node_modules ## Show what a deployment to ENVIRONMENT would change
	$(CDK) diff $(CONTEXT)

deploy: infra/node_modules ## Deploy this commit to ENVIRONMENT, or the version TAG
	$(IN_INFRA) python deploy.py $(ENVIRONMENT) $(if $(filter file,$(origin TAG)),,--tag '$(TAG)')

destroy: infra/node_modules ## Remove ENVIRONMENT and its data, unless it is protected
	$(IN_INFRA) python deploy.py $(ENVIRONMENT) --destroy

rotate-cache-password: ## Replace the password of ENVIRONMENT's cache, without an interruption
	$(IN_INFRA) python rotate_cache_password.py $(ENVIRONMENT)

connect: ## A person's way into ENVIRONMENT: TO=database, cache, or shell with SERVICE=worker
	@$(IN_INFRA) python connect.py $(ENVIRONMENT) $(TO) $(SERVICE)

aws-logs: ## Follow the logs of a SERVICE (web, worker) of ENVIRONMENT
	@$(IN_INFRA) python connect.py $(ENVIRONMENT) logs $(SERVICE)
