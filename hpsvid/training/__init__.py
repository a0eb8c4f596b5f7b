"""Motion capture and landmarks of rendered people in, network weights out.

`loop` is the training loop; `batches`, `augment` and `losses` serve the solvers of `solvers`,
`pairs` the lifter of `lifter`; `least_squares` fits a layer in closed form. Nothing but the command
line and tools imports this.
"""
