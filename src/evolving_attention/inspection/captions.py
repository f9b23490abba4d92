"""What to see in each view, for who looks at it without the documentation."""

__all__ = ["CAPTIONS"]

CAPTIONS = {
    "chain": (
        "A column is a layer, a row a head, their mean on top; rows of an image are queries, "
        "columns keys. Each image has its own colour scale: the number below it is its largest "
        "entry. Look for structure that lasts or sharpens from layer to layer, and at that number: "
        "where it falls to one over the number of positions, attention has become even."
    ),
    "query": (
        "Where one position of the series, the upright line, looks in each layer: bars are its "
        "attention, the mean over heads; the series is grey. The dotted line is even attention: "
        "bars that leave it pick something out."
    ),
    "image_chain": (
        "A panel is a layer, the mean over its heads; rows are the pixels that look, columns those "
        "that are looked at, row of the image by row. Each panel has its own colour scale: the "
        "number below it is its largest entry."
    ),
    "image_query": (
        "Where one pixel, the cross, looks in each layer: bright is its attention, the mean over "
        "heads, on the grid that the layer sees. Each panel has its own scale: the number below it "
        "is its largest entry, and one over the number of cells is even attention."
    ),
    "translation_chain": (
        "The encoder reads the source; the decoder, word by word, what it has written; "
        "cross-attention leads from each word to the source. A column is a layer; rows are the "
        "tokens that look, of the decoder the token written there, columns those looked at. Each "
        "image has its own colour scale: the number below it is its largest entry."
    ),
    "translation_query": (
        "Where the network looks in each layer as it writes one token: bars are its attention, the "
        "mean over heads. The dotted line is even attention: bars that leave it pick something out."
    ),
    "measures": (
        "Above, what a layer attends to: how evenly, with what contrast, how far, how alike its "
        "heads are, and how far its attention differs from that of the layer before. Below, what "
        "became of the map that the layer was handed: how much it changed, how much of its pattern "
        "stayed, its share in the mix, and what convolution and activation did. Measures of maps "
        "leave out the mean of each row, which the softmax does not see."
    ),
    "kernels": (
        "Each layer's convolution: a row of small images makes one head's map, a column reads one "
        "head's; red adds, blue takes away. The identity would be a diagonal of red centres; the "
        "number above is the distance from it, relative to its norm. Kernels that look like "
        "noise have hardly moved from where they started."
    ),
    "quality": (
        "A small convolutional network is shown the maps of one layer and nothing else. What it "
        "scores on series it has not seen tells how much that layer's attention knows of the "
        "target. Bands are over three seeds; the dotted line is what knowing nothing scores."
    ),
}
