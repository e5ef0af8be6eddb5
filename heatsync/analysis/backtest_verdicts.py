"""The result of a profile's last backtest, shown wherever its scores are shown.

<state>/verdicts/<profile>.json per entity: the AUC, and the version of the profile
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from heatsync.analysis.backtest_metrics import MIN_PREDICTIVE_AUC, Backtest
from heatsync.workspace.config import Workspace


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well a version of a profile predicts churn within the horizon: the AUC with its interval. `last` is the
    last snapshot day of the backtest."""

    entity: str
    version: str
    auc: float
    low: float
    high: float
    horizon: int
    rows: int
    churned: int
    last: str

    @property
    def predictive(self) -> bool:
        """Whether the AUC was high enough to call the score predictive."""
        return self.auc >= MIN_PREDICTIVE_AUC


def save_verdict(workspace: Workspace, found: Backtest) -> None:
    """Store the verdict of a backtest with figures. A backtest of one audience is not stored: it does not cover the
    profile."""
    if found.figures is None or found.audience is not None or found.last is None:
        return
    auc = found.figures.auc
    verdict = Verdict(
        entity=found.entity,
        version=workspace.profiles[found.profile].version,
        auc=auc.value,
        low=auc.low,
        high=auc.high,
        horizon=found.horizon,
        rows=found.rows,
        churned=found.churned,
        last=found.last.isoformat(),
    )
    path = _path(workspace, found.profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    verdicts = {**_read(path), found.entity: verdict}
    temporary.write_text(json.dumps({entity: asdict(each) for entity, each in verdicts.items()}), "utf-8")
    temporary.replace(path)


def load_verdicts(workspace: Workspace, profile: str) -> dict[str, Verdict]:
    """The verdicts on the current version of the profile, per entity; empty after the profile changed."""
    known = workspace.profiles.get(profile)
    if known is None:
        return {}
    found = _read(_path(workspace, profile))
    return {entity: verdict for entity, verdict in found.items() if verdict.version == known.version}


def not_predictive_warnings(workspace: Workspace, profiles: set[str] | None = None) -> list[str]:
    """A message per profile and entity that is not predictive."""
    return [
        f"{name} is not predictive for {entity}s: in the last backtest its AUC was {verdict.auc:.2f} (below"
        f" {MIN_PREDICTIVE_AUC:.2f} a score does not predict churn). `heatsync suggest-weights {name}` looks for better weights"
        for name in sorted(profiles if profiles is not None else workspace.profiles)
        for entity, verdict in sorted(load_verdicts(workspace, name).items())
        if not verdict.predictive
    ]


def _read(path: Path) -> dict[str, Verdict]:
    try:
        return {entity: Verdict(**values) for entity, values in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _path(workspace: Workspace, profile: str) -> Path:
    return workspace.state / "verdicts" / f"{profile}.json"
