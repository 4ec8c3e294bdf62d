"""Frozen, self-checking configs of the jobs, and functions that build a config from recipes and flags."""

from cxr_ray.config.archive import IndexConfig, PrepareConfig, ReconcileConfig
from cxr_ray.config.benchmark import (
    BenchmarkCascadeConfig,
    BenchmarkConfig,
    BenchmarkSegmentationConfig,
    BenchmarkTrainingConfig,
)
from cxr_ray.config.command_line import load_config, read_recipe, run_job
from cxr_ray.config.demo import PhantomModelsConfig
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.config.finetuning import FinetuneClipConfig
from cxr_ray.config.importing import ImportConfig
from cxr_ray.config.optimizing import OptimizeConfig
from cxr_ray.config.planning import PlanConfig
from cxr_ray.config.prediction import PredictConfig
from cxr_ray.config.scoring import ArchiveJobConfig, ClassifyConfig, EmbedConfig, ScoreConfig, SegmentConfig
from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.config.segmenter_training import TrainSegmenterConfig
from cxr_ray.config.training import TrainClassifierConfig

__all__ = [
    "ArchiveJobConfig",
    "BenchmarkCascadeConfig",
    "BenchmarkConfig",
    "BenchmarkSegmentationConfig",
    "BenchmarkTrainingConfig",
    "ClassifyConfig",
    "EmbedConfig",
    "EvaluateClassifierConfig",
    "EvaluateSegmenterConfig",
    "FinetuneClipConfig",
    "ImportConfig",
    "IndexConfig",
    "OptimizeConfig",
    "PhantomModelsConfig",
    "PlanConfig",
    "PredictConfig",
    "PrepareConfig",
    "ReconcileConfig",
    "ScoreConfig",
    "SegmentConfig",
    "TrainClassifierConfig",
    "TrainSegmenterConfig",
    "load_config",
    "read_recipe",
    "run_job",
]
