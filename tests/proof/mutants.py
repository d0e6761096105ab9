"""All mutants, those first that a running stack finds."""

import mutants_of_checks
import mutants_of_data
import mutants_of_hops
import mutants_of_login
import mutants_of_machine
import mutants_of_roles

_ALL = [
    *mutants_of_hops.MUTANTS,
    *mutants_of_checks.MUTANTS,
    *mutants_of_data.MUTANTS,
    *mutants_of_login.MUTANTS,
    *mutants_of_machine.MUTANTS,
    *mutants_of_roles.MUTANTS,
]
MUTANTS = sorted(_ALL, key=lambda mutant: not mutant.needs_stack)
