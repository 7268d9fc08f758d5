def test_a(toy, kang, zhao, norman):
    print(toy, kang.shape, zhao.shape, norman.shape, norman.X.max(), type(norman.X))
