"""Where the images are."""

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from constructs import Construct

from components.retention import removal_policy
from config import Environment

# A rollback needs an old image; a hundred releases are far enough.
_KEPT = 100


class Registry(Construct):
    """Repositories of the images `app` and `proxy`: a tag is written once and scanned.

    An image under a tag in use is never replaced: tags cannot move.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, environment: Environment, key: kms.IKey
    ) -> None:
        super().__init__(scope, construct_id)
        self.app = self._repository("App", environment, key)
        self.proxy = self._repository("Proxy", environment, key)

    def _repository(self, name: str, environment: Environment, key: kms.IKey) -> ecr.Repository:
        return ecr.Repository(
            self,
            name,
            encryption=ecr.RepositoryEncryption.KMS,
            encryption_key=key,
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            lifecycle_rules=[ecr.LifecycleRule(max_image_count=_KEPT)],
            removal_policy=removal_policy(environment),
            empty_on_delete=not environment.protect,
        )
