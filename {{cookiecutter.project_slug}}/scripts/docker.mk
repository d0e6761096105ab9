.PHONY: up down clean logs shell verify

up: certs ## Start the whole stack and wait until it serves
	docker compose up --build --detach --wait || { docker compose logs --tail 40; exit 1; }
	@echo "Ready at https://$$(docker compose port proxy 8443 | sed 's/127.0.0.1/localhost/')"

down: ## Stop the stack; the data stay
	docker compose down

clean: ## Stop the stack and delete its data
	docker compose down --volumes --remove-orphans

logs: ## Follow the logs
	docker compose logs --follow

shell: ## A Django shell in the running application
	docker compose exec app python manage.py shell

verify: ## Probe every hop from every process; fails if one falls short
	docker compose exec -T app python manage.py verify_encryption
	docker compose exec -T worker python manage.py verify_encryption
	docker compose exec -T scheduler python manage.py verify_encryption
