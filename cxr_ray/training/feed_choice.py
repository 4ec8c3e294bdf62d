"""Whether a training's images fit the cluster's memory."""

import ray

SHARE_OF_OBJECT_STORE = 0.5  # the rest is for what else runs on the node


def fits_memory(images: int, image_size: int) -> bool:
    """True if every node's object store holds all images, uint8 at `image_size`, beside other work."""
    stores = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]]
    return images * image_size**2 <= SHARE_OF_OBJECT_STORE * min(stores)
