"""Models: architectures that a RunConfig can name and parametrise. User code is never executed.

layers    convolution, linear and batch-norm layers with weights drawn from numpy
mlp       fully connected
convnet   LeNet's plan
resnet    the CIFAR residual network
transformer  the blocks of the two that follow
gpt       a decoder over bytes
vit       an encoder over patches
build     config -> module; module -> model.json
"""
