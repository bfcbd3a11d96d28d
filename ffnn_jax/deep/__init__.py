"""Deep networks whose equal layers run, and are compiled, as one: `Plan(scan_layers=…)`.

  block         which layers, and trees with those stacked
  passes        the forward pass and the sweep over them
  expressions   what the outputs of a program are made of
  optimizer     the update of an optimizer for stacked layers, where it treats them alike
  choice        whether it is done

`training` and `epochs` work on stacked states; whoever calls `fit` or `train_epoch` sees none.
"""
