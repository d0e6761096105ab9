"""What the account may cost in a month."""

from aws_cdk import aws_budgets as budgets
from constructs import Construct

from config import Environment


class Budget(Construct):
    """Mails `alarm_emails` when 80 % are spent, and when the month will end above 100 %.

    It counts the whole account. Costs by environment would need cost allocation tags, which
    only the payer's account can turn on; a budget for a tag that is off counts nothing, and
    says nothing. Budgets mails by itself, so it needs no key and no topic.
    https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-best-practices.html
    """

    def __init__(self, scope: Construct, construct_id: str, *, environment: Environment) -> None:
        super().__init__(scope, construct_id)
        subscribers = [
            budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=address)
            for address in environment.alarm_emails
        ]
        budgets.CfnBudget(
            self,
            "Month",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(
                    amount=environment.monthly_budget, unit="USD"
                ),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=subscribers,
                )
                for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )
