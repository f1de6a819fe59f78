"""Why a training or an evaluation ends without a result, worded for whoever started it.

TrainingRefused          it cannot be done as asked; the message is one sentence
├── SettingWrong         a recipe, a backbone or a value of the configuration that is not known
├── WeightsMissing       the pretrained weights are not installed, or are not those we know
├── DataTooSmall         too few photographs of a class to fit, calibrate and measure
├── ModelUnreadable      the model to evaluate or package is not there or is not one
├── LabelsUnknown        labelled photographs of classes that the model does not know
├── ParityBroken         the graph to serve does not answer as what was trained
└── NotMeasured          a form of the model did not run to its end in a process of its own

What is wrong with a folder of photographs is `training.data.errors.DataWrong`.
"""

from __future__ import annotations


class TrainingRefused(Exception):
    """It cannot be done as asked: what is wrong, and what would be right."""


class SettingWrong(TrainingRefused, ValueError):
    """A name or a value that no recipe or backbone knows."""


class WeightsMissing(TrainingRefused):
    """No pretrained weights where they should be."""


class DataTooSmall(TrainingRefused):
    """Too few photographs to fit, calibrate and measure apart from each other."""


class ModelUnreadable(TrainingRefused):
    """No run, archive or graph where one was named."""


class LabelsUnknown(TrainingRefused):
    """The photographs carry labels that the model was not trained on."""


class ParityBroken(TrainingRefused):
    """The exported graph differs from the trained model by more than is allowed."""


class NotMeasured(TrainingRefused):
    """A form of the model did not run to its end where it was timed."""
