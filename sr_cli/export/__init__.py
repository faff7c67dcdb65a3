"""ONNX files: networks exported, checked, and made smaller or faster."""
