def check_types(source, body, signature):
    raise NotImplementedError
