"""Report: what a person finds in the Prefect UI after a run."""

from prefect.artifacts import create_markdown_artifact

from hybrid_ml.reports import AnalysisReport, TrainingReport
from hybrid_ml.summaries import analysis_markdown, training_markdown
from tasks.stage import stage


@stage("report training", timeout_seconds=60)
def report_training(report: TrainingReport) -> None:
    """The weekly training artifact."""
    create_markdown_artifact(training_markdown(report), key="weekly-training", description="Weekly training")


@stage("report analysis", timeout_seconds=60)
def report_analysis(report: AnalysisReport) -> None:
    """The analysis artifact."""
    create_markdown_artifact(analysis_markdown(report), key="analysis", description="Ten-minute analysis")
