# What concerns AWS. infra/ says what is there, docs/deployment.md how it gets there.
.PHONY: synth diff deploy connect aws-logs

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

synth: infra/node_modules ## Make the CloudFormation templates of ENVIRONMENT
	$(CDK) synth --quiet $(CONTEXT)

diff: infra/node_modules ## Show what a deployment to ENVIRONMENT would change
	$(CDK) diff $(CONTEXT)

deploy: infra/node_modules ## Deploy this commit to ENVIRONMENT, or the version TAG
	$(IN_INFRA) python deploy.py $(ENVIRONMENT) $(if $(filter file,$(origin TAG)),,--tag '$(TAG)')

connect: ## A person's way into ENVIRONMENT: TO=database, cache, or shell with SERVICE=worker
	@$(IN_INFRA) python connect.py $(ENVIRONMENT) $(TO) $(SERVICE)

aws-logs: ## Follow the logs of a SERVICE (web, worker) of ENVIRONMENT
	@$(IN_INFRA) python connect.py $(ENVIRONMENT) logs $(SERVICE)
