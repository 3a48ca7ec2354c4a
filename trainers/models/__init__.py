"""Models: architectures that a RunConfig can name and parametrise. User code is never executed.

layers    convolution, linear and batch-norm layers with weights drawn from numpy
mlp       fully connected
convnet   LeNet's plan
resnet    the CIFAR residual network
build     config -> module; module -> model.json
"""
