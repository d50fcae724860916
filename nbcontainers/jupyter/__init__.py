"""The engine in a notebook: magics, widgets, and the forms that results take where there are no widgets."""
