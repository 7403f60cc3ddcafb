"""Linear classifiers solved by matrix products.

`sources` reads rows and columns of features wherever they lie; `space` and `gram` turn training
rows into coordinates on their principal axes; `design`, `losses` and `newton` solve every
one-vs-rest problem there at once, on an accelerator where `device` is told so; `interior` solves
the hinge loss; `classifier` is the scikit-learn side. The estimators are
`featx.heads.linear_svc`, `featx.heads.logreg` and `featx.heads.ridge`.
"""
