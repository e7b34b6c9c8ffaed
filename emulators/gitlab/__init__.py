"""GitLab's REST API on this machine, as far as connecting a project goes.

    with GitLab() as gitlab:
        subprocess.run([...], env=os.environ | gitlab.environment())

`uv run python -m emulators.gitlab` runs it by hand.

Modelled after GitLab's own documentation and specs:

- projects by number or URL-encoded path, version, `personal_access_tokens/self`;
- CI/CD variables (doc/api/project_level_variables.md, spec/requests/api/ci/variables_spec.rb): 400
  for a key that is taken, 409 where a scope is needed, the rules of masked values, `raw`, and null
  for a hidden value;
- protected branches, runners, pages of at most a hundred rows;
- scopes and roles: 401 `invalid_token`, 403 `insufficient_scope`, 403 below Maintainer; the headers
  PRIVATE-TOKEN and Authorization.

Not modelled: everything else; it is answered 404 and kept in `unmodelled`.
"""

from .server import GitLab

__all__ = ["GitLab"]
