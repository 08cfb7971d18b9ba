"""The image: it builds as on the Hub, contains no secret and wastes no space."""

from __future__ import annotations

from dataclasses import asdict

from preflight.contract.findings import advise, material, not_promised, show, violated
from preflight.engine.image import BuildError, Image, build_without_secrets
from preflight.engine.layers import Contents, home_of, uid_of
from preflight.engine.run import Run
from preflight.model.hub_profile import HUB
from preflight.model.problems import CannotJudge
from preflight.model.space import Space
from preflight.rules.dockerfile import Dockerfile, optional_secrets


def test_builds(built: Image | BuildError) -> None:
    """The image builds from the folder alone, with Variables as build args and Secrets only as build secrets.

    Severity: breaks

    On the Hub: "Build error", Job failed with exit code: 1

    Fix: Correct the step that is named. On the Hub, the build has no uncommitted files, and no Secrets as build args.

    Source: hub-docs spaces-sdks-docker.md.
    """
    if not isinstance(built, BuildError):
        return
    material(built.log)
    if built.unjudged:
        raise CannotJudge(built.unjudged)
    violated(
        expected=f"an image within {HUB.build_deadline:g} s",
        actual=str(built).partition("\nfix:")[0],
        fix=built.fix,
    )


def test_builds_without_secrets(
    space: Space, dockerfile: Dockerfile, image: Image, run: Run
) -> None:
    """The image also builds without Secrets, unless the step that mounts one says `required=true`.

    Severity: advice

    On the Hub: "Build error" in each duplicate of the Space, and in the Space until its Secrets are entered

    Fix: Read the Secret when the container starts. Where the build needs it, write --mount=type=secret,id=NAME,required=true: the build then names the missing Secret.

    Source: hub-docs spaces-sdks-docker.md, Buildtime, and spaces-overview.md, Duplicating a Space:
    Secrets are not copied.
    """
    mounted = [
        (name, line) for name, line in optional_secrets(dockerfile) if name in space.environment
    ]
    # Without these, the image has just been built without Secrets.
    if not mounted:
        return
    try:
        build_without_secrets(run, space, {line for _, line in mounted})
    except BuildError as error:
        material(error.log)
        if error.unjudged:
            raise CannotJudge(error.unjudged) from None
        names = ", ".join(dict.fromkeys(name for name, _ in mounted))
        violated(
            expected=f"an image also without the Secret {names}",
            actual=str(error).partition("\nfix:")[0],
        )


def test_user_is_uid_1000(space: Space, image: Image, contents: Contents) -> None:
    """USER is uid 1000, as the Hub's documentation says.

    Severity: risk

    On the Hub: no effect was observed; if the container runs as uid 1000, as documented: "PermissionError: [Errno 13] Permission denied"

    Fix: RUN useradd --create-home --uid 1000 user, then USER 1000 (in node images: USER node).

    Source: hub-docs spaces-sdks-docker.md says uid 1000; observed: an image without USER runs as
    root.
    """
    if not space.follows_conventions:
        not_promised("uid 1000: `preflight.toml` does not say `conventions = true`")
    user, uid = str(image.config.get("User") or ""), uid_of(image, contents)
    if uid != HUB.uid:
        violated(
            expected=f"USER with uid {HUB.uid}",
            actual=f"USER {user}, uid {uid}" if user else "no USER, so root",
        )


def test_home_and_tmp_are_writable(image: Image, contents: Contents) -> None:
    """The container's user can write to its home folder and /tmp, if the image has them.

    Severity: risk

    On the Hub: PermissionError: [Errno 13] Permission denied: '/.cache' (or '/home/user/…')

    Fix: Use RUN useradd --create-home --uid 1000 user. Leave /tmp as the base image has it.

    Source: users reported the texts between 2022 and 2024.
    """
    user = uid_of(image, contents)
    if user == 0:
        return
    gid = next((gid for _, uid, gid, _ in contents.users if uid == user), 0)
    home = home_of(image, contents)
    if home == "/" and contents.users:
        advise(
            f"a home folder of uid {user}", "HOME is /, where libraries cannot write their caches"
        )
    for path in {home, "/tmp"} - {"/"}:
        entry = contents.entries.get(path)
        if entry and not entry.writable_by(user, gid):
            violated(
                expected=f"{path} writable by uid {user}",
                actual=f"{path} belongs to {entry.uid}:{entry.gid}, mode {entry.mode:04o}",
            )


def test_keeps_no_secret(space: Space, contents: Contents) -> None:
    """No layer, ENV, label or history entry contains a value of a Secret, even if a later layer deletes it.

    Severity: risk

    On the Hub: everyone who can pull the image can read the key ("Run with Docker" offers the image of a public Space)

    Fix: Use RUN --mount=type=secret,id=NAME,mode=0444, and read /run/secrets/NAME in that RUN only. Do not write the value to a file.

    Source: hub-docs spaces-run-with-docker.md.
    """
    if not space.secrets_to_find:
        not_promised("`.env.example` declares no Secret whose value could be recognised")
    if contents.leaks:
        places = "\n".join(f"{name} in {place}" for name, place in contents.leaks[:10])
        violated(expected="no value of a Secret in the image", actual=places)


def test_size_is_within_budget(contents: Contents) -> None:
    """The total size of all layers and the size of the largest layer are within their budgets.

    Severity: risk; advice without conventions

    On the Hub: "exporting cache" ends with exit code 137, or a slow wake-up, since each start pulls the image

    Fix: Build in one stage, and copy the result into a slim final stage. Load models at run time. The Hub's limit is not documented; `--hub image_budget=BYTES` and `--hub layer_budget=BYTES` set the budgets.

    Source: reported by users: Cinnamon/kotaemon issue 725; the Hub's limit is unknown.
    """
    total = sum(layer.size for layer in contents.layers)
    largest = max(contents.layers, key=lambda layer: layer.size)
    compressed = sum(layer.compressed for layer in contents.layers)
    show("image", {"size": total, "budget": HUB.image_budget, "compressed": compressed})
    show("layers", *map(asdict, contents.layers))
    for what, size, budget in (
        ("all layers", total, HUB.image_budget),
        (f"the layer of `{largest.instruction[:100]}`", largest.size, HUB.layer_budget),
    ):
        if size > budget:
            violated(
                expected=f"at most {megabytes(budget)} for {what}",
                actual=megabytes(size),
            )


def test_wastes_no_space(contents: Contents) -> None:
    """Files that a later layer replaces or deletes take little space: they stay in the image.

    Severity: risk; advice without conventions

    On the Hub: the image is up to twice its size; "exporting cache" ends with exit code 137

    Fix: Delete a file in the RUN that creates it. Use COPY --chown=1000:1000 instead of a later chown -R. `--hub waste_budget=BYTES` sets the budget.

    Source: hub-docs spaces-sdks-docker.md advises against recursive chown.
    """
    wasted = sum(layer.wasted for layer in contents.layers)
    if wasted > HUB.waste_budget:
        worst = max(contents.layers, key=lambda layer: layer.wasted)
        recursive = "chown -R" in worst.instruction or "chmod -R" in worst.instruction
        violated(
            expected=f"at most {megabytes(HUB.waste_budget)} in files that a later layer replaces or deletes",
            actual=f"{megabytes(wasted)}, of which {megabytes(worst.wasted)} by `{worst.instruction[:200]}`",
            fix="COPY --chown=1000:1000, and drop the recursive step" if recursive else None,
        )


def megabytes(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
